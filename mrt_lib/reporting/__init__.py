"""The overthinking report: how many tokens of a reasoner's thoughts are wasted, as numbers and as a page."""
