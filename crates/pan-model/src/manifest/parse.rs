//! From texts to documents: split, read untyped (places, envelope), read typed, check.

use super::again::Again;
use super::check::check;
use super::mask::{Mask, Masked};
use super::tree::{Node, Spot, Tree};
use super::{API, Document, Object, Place, Problem};
use crate::notyet::NOT_YET;
use crate::{
    ClusterName, ClusterSpec, Code, ImportSpec, Name, PartitionName, PartitionSpec, PolicySpec, ServiceName, ServiceSpec, VolumeSpec,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;
use std::collections::BTreeMap;

/// Longest text that is read, in bytes.
pub const TEXT_MAX: usize = 4 << 20;
/// Most documents of all texts together.
pub const DOCUMENTS_MAX: usize = 10_000;
/// Most values of all documents together, aliases written out; a text of [`TEXT_MAX`] has fewer without aliases.
const VALUES_MAX: usize = 2_000_000;
/// Most values that the aliases of one document may stand for.
const ALIASED_MAX: usize = 100_000;
/// Most problems that are collected: a text with more than that is something other than a manifest.
pub const PROBLEMS_MAX: usize = 1000;
/// Bytes of documents that are read again to find all that is wrong with them, of all texts together: enough for a text of some hundred
/// kilobytes that is wrong all over, and half a second's work.
const AGAIN_MAX: usize = 16 << 20;
/// Deepest nesting that is read: the deepest manifest has 8 levels. The reader recurses, on a thread's 2 MiB of stack.
const DEPTH_MAX: usize = 24;

/// Reads texts, each given with the name that errors call it by. `default_partition` is for documents that name none.
///
/// # Errors
/// All problems of all texts, in their order, or the first [`PROBLEMS_MAX`]; nothing is returned of the documents that had
/// none. Texts without any document are one too.
pub fn parse(files: &[(String, String)], default_partition: Option<&PartitionName>) -> Result<Vec<Document>, Vec<Problem>> {
    let mut all = Reading {
        default_partition,
        documents: Vec::new(),
        problems: Vec::new(),
        seen: BTreeMap::new(),
        count: 0,
        values: 0,
        again_left: AGAIN_MAX,
    };
    for (source, text) in files {
        if text.len() > TEXT_MAX {
            all.refuse_text(source, format!("the text has {} bytes, at most {TEXT_MAX} are read: split it", text.len()));
            continue;
        }
        for (first_line, part) in split(text) {
            if !all.document(source, first_line, part) || all.enough(source) {
                return Err(all.problems);
            }
        }
    }
    if all.count == 0 && all.problems.is_empty() {
        for (source, _) in files {
            all.refuse_text(source, "no objects in it: expected at least one document with api, kind, name and spec".into());
        }
    }
    if all.problems.is_empty() { Ok(all.documents) } else { Err(all.problems) }
}

/// The documents of a text with the number of lines before each. A line that begins with `---` or `...` and ends there or
/// goes on with a space is a boundary wherever it stands (YAML 1.2.2 §9.1.2, §9.1.4).
pub(super) fn split(text: &str) -> Vec<(u64, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 0, 0);
    for (line, content) in (0_u64..).zip(text.split_inclusive('\n')) {
        let after = content.strip_prefix("---").or_else(|| content.strip_prefix("..."));
        let boundary = after.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if boundary && at > begin {
            // Directives belong to the document that follows them.
            if !is_preamble(&text[begin..at]) || content.starts_with("...") {
                parts.push((begin_line, &text[begin..at]));
                (begin, begin_line) = (at, line);
            }
        }
        if content.starts_with("...") && boundary {
            (begin, begin_line) = (at + content.len(), line + 1);
        }
        at += content.len();
    }
    parts.push((begin_line, &text[begin..]));
    parts
}

fn is_preamble(text: &str) -> bool {
    let meaningful = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let mut lines = text.lines().filter(meaningful).peekable();
    lines.peek().is_some() && lines.all(|line| line.starts_with('%'))
}

struct Reading<'a> {
    default_partition: Option<&'a PartitionName>,
    documents: Vec<Document>,
    problems: Vec<Problem>,
    seen: BTreeMap<(&'static str, PartitionName, String), Place>,
    count: usize,
    values: usize,
    again_left: usize,
}

impl Reading<'_> {
    fn refuse_text(&mut self, source: &str, message: String) {
        let place = Place { source: source.to_owned(), line: 0, column: 0 };
        self.problems.push(Problem { code: Code::Invalid, place, message });
    }

    /// Whether there are so many problems that reading ends, the last of them saying so.
    fn enough(&mut self, source: &str) -> bool {
        if self.problems.len() <= PROBLEMS_MAX {
            return false;
        }
        self.problems.truncate(PROBLEMS_MAX);
        self.refuse_text(source, format!("more than {PROBLEMS_MAX} problems: reading ended here"));
        true
    }

    /// Reads one document; `false` when a bound is passed and reading ends.
    fn document(&mut self, source: &str, first_line: u64, text: &str) -> bool {
        let mut tree = match serde_saphyr::from_str_with_options::<Option<Tree>>(text, options()) {
            Ok(None) => return true,
            Ok(Some(tree)) if tree.node == Node::Null => return true,
            Ok(Some(tree)) => tree,
            Err(error) => {
                self.problems.push(problem(&error, None, source, first_line));
                return true;
            }
        };
        tree.shift(first_line);
        self.count += 1;
        self.values += tree.size();
        if self.count > DOCUMENTS_MAX || self.values > VALUES_MAX {
            self.refuse_text(source, format!("more than {DOCUMENTS_MAX} documents or {VALUES_MAX} values at once: split the files"));
            return false;
        }
        if self.tags(source, &tree) > 0 {
            return true;
        }
        let envelope = match envelope(&tree, self.default_partition) {
            Ok(envelope) => envelope,
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|(code, spot, message)| Problem {
                    code,
                    place: spot.within(source),
                    message,
                }));
                return true;
            }
        };
        let misnamed = envelope.misnamed();
        if let Some(message) = misnamed.clone() {
            self.problems.push(Problem { code: Code::Invalid, place: tree.locate("name").within(source), message });
        }
        match envelope.read(text, &Mask::default()) {
            Err(error) => self.again(source, first_line, (text, &tree), (&envelope, error)),
            Ok(object) if misnamed.is_some() => self.check(&Document { object, source: source.to_owned(), tree }),
            Ok(object) => self.add(Document { object, source: source.to_owned(), tree }),
        }
        true
    }

    /// A document that cannot be read as it is: everything that is wrong with it.
    fn again(&mut self, source: &str, first_line: u64, (text, tree): (&str, &Tree), (envelope, error): (&Envelope, Error)) {
        let again = Again {
            tree,
            first_line,
            left: &mut self.again_left,
            // Aliases are read again each time, too.
            size: text.len().max(8 * tree.size()),
            problem: &|error| problem(error, Some(tree), source, first_line),
            at: &|code, spot, message| Problem { code, place: spot.within(source), message },
        };
        self.problems.extend(again.all(error, |mask| envelope.read(text, mask)));
    }

    /// Refuses tags outside of the core schema: what they make of a value would be hidden from its reader. How many.
    fn tags(&mut self, source: &str, tree: &Tree) -> usize {
        let found = tree.foreign_tags();
        for (spot, tag) in &found {
            let short = tag.strip_prefix("tag:yaml.org,2002:").map_or_else(|| (*tag).to_owned(), |name| format!("!!{name}"));
            let message = format!("tag {short} has no meaning in a manifest: write the value without it");
            self.problems.push(Problem { code: Code::Invalid, place: spot.within(source), message });
        }
        found.len()
    }

    fn check(&mut self, document: &Document) {
        for (code, path, message) in check(&document.object) {
            self.problems.push(Problem { code, place: document.locate(&path), message });
        }
    }

    fn add(&mut self, document: Document) {
        self.check(&document);
        let object = &document.object;
        let key = (object.kind(), object.partition().clone(), object.name().to_owned());
        let place = document.locate("name");
        if let Some(first) = self.seen.get(&key) {
            let message = format!("{} {} is already defined at {first}: keep one of them", key.0, key.2);
            self.problems.push(Problem { code: Code::Duplicate, place, message });
        } else {
            self.seen.insert(key, place);
        }
        self.documents.push(document);
    }
}

pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        // YAML 1.2: a partition `n` is not the partition `false`.
        strict_booleans: true,
        // Tags are refused with their place; a text that was decoded behind one would be refused for what it became.
        ignore_binary_tag_for_string: true,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_MAX },
    }
}

/// What every document says before its spec.
struct Envelope {
    kind: Kind,
    partition: Option<PartitionName>,
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Partition,
    Cluster,
    Service,
    Volume,
    Import,
    Policy,
}

impl Envelope {
    /// What is wrong with the name.
    fn misnamed(&self) -> Option<String> {
        let error = match self.kind {
            Kind::Partition => PartitionName::new(self.name.as_str()).err(),
            Kind::Cluster => ClusterName::new(self.name.as_str()).err(),
            Kind::Service => ServiceName::new(self.name.as_str()).err(),
            Kind::Volume | Kind::Import | Kind::Policy => Name::new(self.name.as_str()).err(),
        };
        error.map(|error| error.to_string())
    }

    /// The object, without what is passed over. One that is misnamed has another name: only its spec matters.
    fn read(&self, text: &str, mask: &Mask) -> Result<Object, Error> {
        let partition = || self.partition.clone().expect("the envelope was refused without one");
        let name = if self.misnamed().is_some() { "x" } else { self.name.as_str() };
        let named = "a name that was checked";
        Ok(match self.kind {
            Kind::Partition => Object::Partition(PartitionName::new(name).expect(named), spec::<PartitionSpec>(text, mask)?),
            Kind::Cluster => Object::Cluster(partition(), ClusterName::new(name).expect(named), spec::<ClusterSpec>(text, mask)?),
            Kind::Service => Object::Service(partition(), ServiceName::new(name).expect(named), spec::<ServiceSpec>(text, mask)?),
            Kind::Volume => Object::Volume(partition(), Name::new(name).expect(named), spec::<VolumeSpec>(text, mask)?),
            Kind::Import => Object::Import(partition(), Name::new(name).expect(named), spec::<ImportSpec>(text, mask)?),
            Kind::Policy => Object::Policy(partition(), Name::new(name).expect(named), spec::<PolicySpec>(text, mask)?),
        })
    }
}

fn spec<S: DeserializeOwned>(text: &str, mask: &Mask) -> Result<S, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole<S> {
        #[serde(rename = "api")]
        _api: IgnoredAny,
        #[serde(rename = "kind")]
        _kind: IgnoredAny,
        #[serde(rename = "partition", default)]
        _partition: Option<IgnoredAny>,
        #[serde(rename = "name")]
        _name: IgnoredAny,
        spec: S,
    }
    if mask.is_empty() {
        return serde_saphyr::from_str_with_options(text, options()).map(|whole: Whole<S>| whole.spec);
    }
    let whole: Whole<S> =
        serde_saphyr::with_deserializer_from_str_with_options(text, options(), |reader| Whole::deserialize(Masked::new(reader, mask)))?;
    Ok(whole.spec)
}

type Found = Vec<(Code, Spot, String)>;

fn envelope(tree: &Tree, default_partition: Option<&PartitionName>) -> Result<Envelope, Found> {
    let Node::Map(entries) = &tree.node else {
        return Err(vec![(Code::Invalid, tree.spot, "a document is a mapping with api, kind, name and spec".into())]);
    };
    let mut found: Found = Vec::new();
    for entry in entries {
        if !["api", "kind", "partition", "name", "spec"].contains(&entry.key.as_str()) {
            let message = format!("unknown field `{}`: a document has api, kind, partition, name and spec", entry.key);
            found.push((Code::Invalid, entry.spot, message));
        }
    }
    let api = scalar(tree, "api", &mut found);
    if let Some((spot, text)) = api.filter(|(_, text)| *text != API) {
        found.push((Code::Invalid, spot, format!("{text:?} is not an api that this version knows: expected {API}")));
    }
    let kind = scalar(tree, "kind", &mut found).and_then(|(spot, text)| match kind(text) {
        Ok(kind) => Some(kind),
        Err((code, message)) => {
            found.push((code, spot, message));
            None
        }
    });
    let name = scalar(tree, "name", &mut found).map(|(_, text)| text.to_owned());
    let partition = kind.and_then(|kind| partition(tree, kind, default_partition, &mut found));
    match tree.entry("spec") {
        None => found.push((Code::Invalid, tree.spot, "missing field `spec`".into())),
        Some(entry) if entry.value.node == Node::Null => found.push((Code::Invalid, entry.spot, "`spec` is empty".into())),
        Some(_) => {}
    }
    match (kind, name) {
        (Some(kind), Some(name)) if found.is_empty() => Ok(Envelope { kind, partition, name }),
        _ => Err(found),
    }
}

/// The text of a field that must be there.
fn scalar<'t>(tree: &'t Tree, key: &str, found: &mut Found) -> Option<(Spot, &'t str)> {
    match tree.entry(key) {
        None => {
            found.push((Code::Invalid, tree.spot, format!("missing field `{key}`")));
            None
        }
        Some(entry) => match &entry.value.node {
            Node::Scalar(text) => Some((entry.value.spot, text)),
            Node::Null | Node::List(_) | Node::Map(_) => {
                found.push((Code::Invalid, entry.spot, format!("`{key}` is not a text")));
                None
            }
        },
    }
}

fn kind(text: &str) -> Result<Kind, (Code, String)> {
    match text {
        "Partition" => Ok(Kind::Partition),
        "Cluster" => Ok(Kind::Cluster),
        "Service" => Ok(Kind::Service),
        "Volume" => Ok(Kind::Volume),
        "Import" => Ok(Kind::Import),
        "Policy" => Ok(Kind::Policy),
        "Server" | "Node" | "Host" | "Event" => {
            Err((Code::Invalid, format!("a {text} cannot be applied: expected Partition, Cluster, Service, Volume, Import or Policy")))
        }
        _ => Err((Code::Invalid, format!("{text:?} is not a kind: expected Partition, Cluster, Service, Volume, Import or Policy"))),
    }
}

fn partition(tree: &Tree, kind: Kind, default: Option<&PartitionName>, found: &mut Found) -> Option<PartitionName> {
    let entry = tree.entry("partition").filter(|entry| entry.value.node != Node::Null);
    if kind == Kind::Partition {
        if let Some(entry) = entry {
            found.push((Code::Invalid, entry.spot, "a Partition lies in no other one: remove `partition`".into()));
        }
        return None;
    }
    if entry.is_none() {
        if default.is_none() {
            found.push((Code::Invalid, tree.spot, "missing field `partition` (or give -p PARTITION)".into()));
        }
        return default.cloned();
    }
    let (spot, text) = scalar(tree, "partition", found)?;
    PartitionName::new(text).map_err(|error| found.push((Code::Invalid, spot, error.to_string()))).ok()
}

/// A problem out of what the YAML reader says; `tree` has the value that was wrong.
fn problem(error: &Error, tree: Option<&Tree>, source: &str, first_line: u64) -> Problem {
    let error = error.without_snippet();
    let spot = error.location().map_or(Spot { line: 0, column: 0 }, Spot::of);
    let spot = Spot { line: if spot.line == 0 { first_line + 1 } else { spot.line + first_line }, column: spot.column.max(1) };
    let message = message(error, tree.and_then(|tree| tree.scalar_at(spot)));
    let code = if message.contains(NOT_YET) { Code::NotYet } else { Code::Invalid };
    Problem { code, place: spot.within(source), message }
}

fn message(error: &Error, value: Option<&str>) -> String {
    let found = || value.map_or_else(|| "this".to_owned(), |text| format!("{text:?}"));
    match error {
        Error::Message { msg, .. } => msg.clone(),
        Error::SerdeUnknownField { field, expected, .. } => format!("unknown field `{field}`: expected one of {}", expected.join(", ")),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("{variant:?} is not known here: expected one of {}", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("missing field `{field}`"),
        Error::SerdeInvalidType { unexpected, expected, .. } | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("found {unexpected}, expected {expected}")
        }
        Error::InvalidScalar { ty, .. } => format!("{} is not {}", found(), scalar_kind(ty)),
        Error::DuplicateMappingKey { key, .. } => format!("`{}` is given twice: keep one of them", key.as_deref().unwrap_or("the key")),
        Error::Unexpected { expected: "sequence start", .. } => format!("{} is not a list", found()),
        Error::Unexpected { expected: "mapping start", .. } => format!("{} is not a mapping with fields", found()),
        Error::TaggedScalarCannotDeserializeIntoString { .. } => "a text cannot have this tag: write the value without it".into(),
        Error::NullIntoString { .. } => "a text is missing here (write \"\" for an empty one)".into(),
        Error::AliasError { error, .. } => message(error, value),
        Error::AliasReplayLimitExceeded { .. } => format!("the aliases stand for more than {ALIASED_MAX} values: write less of them"),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("values lie in one another more than {DEPTH_MAX} deep: no manifest needs that")
        }
        other => strip_place(&other.to_string()),
    }
}

fn scalar_kind(ty: &str) -> String {
    match ty {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" | "u64" => "a whole number".into(),
        "bool" => "true or false".into(),
        other => format!("a {other}"),
    }
}

/// The reader's own texts end with the place, which the problem carries apart.
fn strip_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}
