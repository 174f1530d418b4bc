"""Judges behind Amazon Bedrock."""
