"""The run file as types: its sections, and the settings that trainers take."""
