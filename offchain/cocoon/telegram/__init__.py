"""A Telegram bot that chats through Cocoon, paid from channels of its own."""
