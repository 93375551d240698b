"""Working with the topics: create, read, print, export, dead letters."""
