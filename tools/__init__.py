"""Tools that build the repository; not part of the library."""
