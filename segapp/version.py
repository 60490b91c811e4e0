"""The version of segapp."""

VERSION = "0.1.0"
