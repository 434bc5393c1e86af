//! Values that occur nowhere else, in all forms in which they may stand in a file, and the search for them.

/// A personal value, and how it may stand in a file.
pub struct Canary {
    pub field: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    /// Text: as it is, in lower and upper case, in hexadecimal, and in the three alignments of Base64.
    pub fn text(field: &'static str, value: &str) -> Self {
        let mut forms: Vec<Vec<u8>> =
            [value.to_owned(), value.to_lowercase(), value.to_uppercase()].map(String::into_bytes).into();
        forms.extend(encodings(value.as_bytes()));
        Self { field, forms }
    }

    pub fn bytes(field: &'static str, value: &[u8]) -> Self {
        let mut forms = vec![value.to_vec()];
        forms.extend(encodings(value));
        Self { field, forms }
    }

    /// Numbers that stand side by side, of either byte order; and each alone as text.
    pub fn floats(field: &'static str, values: &[f32]) -> Self {
        let little: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        let mut forms = [Self::bytes(field, &little).forms, Self::bytes(field, &big).forms].concat();
        forms.extend(values.iter().map(|value| value.to_string().into_bytes()));
        Self { field, forms }
    }

    /// One number of eight bytes, likewise.
    pub fn number(field: &'static str, value: f64) -> Self {
        let text = value.to_string();
        assert!(text.len() >= 8, "{field}: {text} says too little to be looked for");
        let mut forms =
            [Self::bytes(field, &value.to_le_bytes()).forms, Self::bytes(field, &value.to_be_bytes()).forms]
                .concat();
        forms.push(text.into_bytes());
        Self { field, forms }
    }
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skip in 0..3 {
        // Whole groups only: what comes before and after shares their first and last characters.
        let groups = bytes[skip..].chunks_exact(3).flat_map(|group| {
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
        });
        let form: Vec<u8> = groups.collect();
        // Four characters of Base64 may occur by chance; eight do not.
        forms.extend((form.len() >= 8).then_some(form));
    }
    forms
}

/// All forms of all canaries, by their first two bytes: a place is gone through once.
pub struct Sought<'a> {
    canaries: &'a [Canary],
    by_start: Vec<Vec<(usize, &'a [u8])>>,
}

impl<'a> Sought<'a> {
    pub fn new(canaries: &'a [Canary]) -> Self {
        let mut by_start = vec![Vec::new(); 1 << 16];
        for (number, canary) in canaries.iter().enumerate() {
            for form in &canary.forms {
                by_start[start(form)].push((number, form.as_slice()));
            }
        }
        Self { canaries, by_start }
    }

    /// The fields of which something stands in `place`, each once.
    pub fn found_in(&self, place: &[u8]) -> Vec<&'static str> {
        let mut found = Vec::new();
        for at in 0..place.len().saturating_sub(1) {
            for (number, form) in &self.by_start[start(&place[at..])] {
                let field = self.canaries[*number].field;
                if !found.contains(&field) && place[at..].starts_with(form) {
                    found.push(field);
                }
            }
        }
        found
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
