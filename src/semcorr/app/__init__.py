"""The page in the browser: match two photographs, and label many; nothing leaves the machine that runs it."""
