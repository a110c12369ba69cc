"""What measures Comity on public test sets: a set, a way to ask, a score with its interval; nothing imports it."""
