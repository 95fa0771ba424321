"""Tests of vnicd, in a folder for each tier; framework is what they share."""
