"""The Secrets Store CSI driver as one appliance: node room, built-in provider and operator's command."""

__version__ = "0.1.0"
