"""Problems of control: streams in which a network acts, or values what it sees."""
