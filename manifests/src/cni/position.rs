//! Where in a file something stands.

/// The line and column, both from 1, of `offset` in `text`.
fn at(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count()
        + 1;
    (line, column)
}

/// Turns the position of `error`, which arose when reading `part`, into one in
/// `whole`, of which `part` is a slice; and takes the position out of the
/// message. Either is (line, column).
pub(super) fn locate(whole: &str, part: &str, error: &serde_json::Error) -> (usize, usize, String) {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let (first_line, first_column) = at(whole, start);
    let line = error.line().max(1);
    let column = if line == 1 {
        first_column + error.column().saturating_sub(1)
    } else {
        error.column()
    };
    let mut message = error.to_string();
    if let Some(end) = message.rfind(" at line ") {
        message.truncate(end);
    }
    (first_line + line - 1, column, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_part_is_found_in_the_whole() {
        let whole = "{\n \"a\": 1,\n \"b\": {\"c\":\n  true}\n}";
        let part = &whole[whole.find("{\"c\"").unwrap()..whole.len() - 2];
        let error =
            serde_json::from_str::<std::collections::BTreeMap<String, u8>>(part).unwrap_err();
        let (line, column, message) = locate(whole, part, &error);
        assert_eq!((line, column), (4, 6));
        assert_eq!(message, "invalid type: boolean `true`, expected u8");
    }
}
