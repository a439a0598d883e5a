//! Round trips of messages, and what is refused.
