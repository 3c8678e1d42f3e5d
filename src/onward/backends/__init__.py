"""The engines: one package each, imported only when it is used."""
