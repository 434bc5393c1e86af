//! What a follower writes down: a line for each change, the last one perhaps cut off by its end.

/// The lines that are whole.
pub fn whole(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..=end])
}
