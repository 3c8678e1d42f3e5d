"""Onward side by side with the plain code, and with the libraries, that it stands beside."""
