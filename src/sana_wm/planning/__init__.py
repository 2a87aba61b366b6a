"""How much memory and time each phase will take, and how its engine will cut its work: sizes in, decisions out."""
