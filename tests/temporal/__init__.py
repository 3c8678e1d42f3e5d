"""Tests of what is special to Temporal. The suite in onward.testing tests the rest."""
