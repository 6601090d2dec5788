"""Problems and thoughts in plain English, for a pretrained language model."""
