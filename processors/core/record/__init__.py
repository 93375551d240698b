"""Events into recordings: what is stored when, and the manifest. Pure."""
