"""G.711 and WAV: formats, decoding tables, headers. Pure."""
