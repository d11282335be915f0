"""All sessions of an application, for those who run it."""
