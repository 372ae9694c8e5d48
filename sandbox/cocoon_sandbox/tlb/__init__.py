"""TL-B types of blocks and states: what they hold, written and read bit by bit as the real network's."""
