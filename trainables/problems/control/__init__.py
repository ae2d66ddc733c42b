"""Problems of control: streams in which a network acts or estimates values."""
