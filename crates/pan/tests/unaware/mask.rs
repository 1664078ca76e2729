//! Fields that differ from day to day although nobody else is there, each with its reason.

/// Lines of `PATTERN [= SHAPE] -- REASON`.
pub struct Mask(Vec<Field>);

struct Field {
    line: String,
    /// With `*` for anything within one part of a path.
    pattern: String,
    /// What is written there, with `#` for runs of digits and `%` for long hexadecimal numbers; none: anything.
    shape: Option<String>,
}

impl Mask {
    pub fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Field::read).collect())
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|field| field.line.as_str())
    }

    /// Which line says that what two days have at a path may differ. What only one of them has never may.
    pub fn covers(&self, path: &str, found: &[Option<String>; 2]) -> Option<usize> {
        let [Some(one), Some(two)] = found else { return None };
        self.0.iter().position(|field| field.is_at(path) && [one, two].into_iter().all(|text| field.fits(text)))
    }
}

impl Field {
    fn read(line: &str) -> Self {
        let (field, reason) = line.split_once(" -- ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let (pattern, shape) = field.split_once(" = ").map_or((field, None), |(pattern, shape)| (pattern, Some(shape)));
        Self { line: line.to_owned(), pattern: pattern.trim().to_owned(), shape: shape.map(|shape| shape.trim().to_owned()) }
    }

    fn is_at(&self, path: &str) -> bool {
        let (wanted, found) = (self.pattern.split('/').collect::<Vec<_>>(), path.split('/').collect::<Vec<_>>());
        wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| matches(wanted, found))
    }

    fn fits(&self, text: &str) -> bool {
        let shape = || shape_of(text).split_whitespace().collect::<Vec<_>>().join(" ");
        self.shape.as_ref().is_none_or(|wanted| *wanted == shape())
    }
}

/// Whether a text is what a pattern with stars says.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}

/// A text with `#` for every run of digits, and `%` for what is a number drawn at random or a digest.
fn shape_of(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let hex =
            rest[..word].bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) && (word >= 16 || word >= 8 && digits < word);
        let (sign, length) = match () {
            () if hex => ("%", word),
            () if digits > 0 => ("#", digits),
            () if word > 0 => (&rest[..rest[..word].find(|c: char| c.is_ascii_digit()).unwrap_or(word)], 0),
            () => (&rest[..first.len_utf8()], 0),
        };
        out += sign;
        rest = &rest[if length > 0 { length } else { sign.len() }..];
    }
    out
}

pub fn check() {
    assert_eq!(shape_of("2026-11-29T18:02:11.402113Z"), "#-#-#T#:#:#.#Z");
    assert_eq!(shape_of("eth0@if4711: 00000000cafe0123 deadbeef beef ü8"), "eth#@if#: % % beef ü#");
    assert!(matches("*-events/x", "morning-events/x") && matches("a*b*c", "abxbc") && !matches("*-events", "morning-event"));
    let mask = Mask::read("a/*/at = # -- time\nb* -- drawn\n");
    let both = |one: &str, two: &str| [Some(one.to_owned()), Some(two.to_owned())];
    assert_eq!(mask.covers("a/1/at", &both("1", "2")), Some(0));
    assert_eq!(mask.covers("a/1/at", &both("1", "x")), None);
    assert_eq!(mask.covers("a/1/2/at", &both("1", "2")), None);
    assert_eq!(mask.covers("bc", &both("1", "x")), Some(1));
    assert_eq!(mask.covers("bc", &[Some("1".to_owned()), None]), None);
    let refused = std::panic::catch_unwind(|| Mask::read("a/at = #\n").lines().count());
    assert!(refused.is_err(), "a line needs a reason");
}
