"""Programs that run other engines, in virtual environments of their own: nothing of Cocoon is imported."""
