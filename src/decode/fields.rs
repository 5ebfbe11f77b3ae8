//! Which fields of a record are wanted: the pointers of all streams as one tree, so that one pass over a record finds them all.

use std::collections::BTreeMap;

use crate::dependency::Pointer;

/// A place in a record that a pointer leads to or through: an index into [`Fields`], and into the values collected for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldId(u32);

impl FieldId {
    /// The record itself.
    pub(super) const ROOT: FieldId = FieldId(0);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of pointers, sharing their common beginnings. Fields are in preorder: those below one follow it.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    /// Members whose names are of one length, which rules out most names at once.
    groups: Vec<Vec<Member>>,
    /// The group for each length; the longest share one. A number that is none where there are no members.
    group_of_length: [u8; LENGTHS],
    /// Whether some pointer passes an array here.
    indexed: bool,
    /// The first field that is not below this one.
    end: u32,
}

#[derive(Debug)]
struct Member {
    token: Box<[u8]>,
    /// The token as an array index, where it is one.
    position: Option<usize>,
    field: FieldId,
}

#[derive(Default)]
struct Tree<'p>(BTreeMap<&'p str, Tree<'p>>);

impl Fields {
    /// The fields that `pointers` lead to.
    pub(super) fn new<'p>(pointers: impl Iterator<Item = &'p Pointer>) -> Self {
        let mut tree = Tree::default();
        for pointer in pointers {
            pointer.tokens().iter().fold(&mut tree, |at, token| at.0.entry(token).or_default());
        }
        let mut fields = Fields { fields: Vec::new() };
        fields.add(&tree);
        fields
    }

    fn add(&mut self, tree: &Tree<'_>) -> FieldId {
        let id = FieldId(self.next_id());
        self.fields.push(Field { groups: Vec::new(), group_of_length: [NO_GROUP; LENGTHS], indexed: false, end: 0 });
        let mut groups: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for (token, below) in &tree.0 {
            let member =
                Member { token: token.as_bytes().into(), position: array_position(token), field: self.add(below) };
            groups.entry(length_of(&member.token)).or_default().push(member);
        }
        let end = self.next_id();
        if let Some(field) = self.fields.get_mut(id.index()) {
            field.indexed = groups.values().flatten().any(|m| m.position.is_some());
            field.end = end;
            for (at, length) in (0..).zip(groups.keys()) {
                if let Some(group) = field.group_of_length.get_mut(*length) {
                    *group = at;
                }
            }
            field.groups = groups.into_values().collect();
        }
        id
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.fields.len()).unwrap_or(u32::MAX)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The field that a pointer of this set leads to.
    pub(super) fn id(&self, pointer: &Pointer) -> Option<FieldId> {
        pointer.tokens().iter().try_fold(FieldId::ROOT, |at, token| self.member(at, token.as_bytes()))
    }

    /// The field that is the member `name` of an object at `of`.
    #[inline]
    pub(super) fn member(&self, of: FieldId, name: &[u8]) -> Option<FieldId> {
        let field = self.fields.get(of.index())?;
        let group = field.groups.get(usize::from(*field.group_of_length.get(length_of(name))?))?;
        group.iter().find(|m| *m.token == *name).map(|m| m.field)
    }

    /// The field that is the element at `position` of an array at `of`.
    pub(super) fn element(&self, of: FieldId, position: usize) -> Option<FieldId> {
        let field = self.fields.get(of.index()).filter(|f| f.indexed)?;
        field.groups.iter().flatten().find(|m| m.position == Some(position)).map(|m| m.field)
    }

    /// The fields below one, as indexes; `None` if it has none.
    #[inline]
    pub(super) fn below(&self, id: FieldId) -> Option<std::ops::Range<usize>> {
        let below = id.index() + 1..self.fields.get(id.index())?.end as usize;
        if below.is_empty() { None } else { Some(below) }
    }
}

/// Names of so many bytes and more are of one length.
const LENGTHS: usize = 64;

/// There are at most [`LENGTHS`] groups.
const NO_GROUP: u8 = u8::MAX;

#[inline]
fn length_of(name: &[u8]) -> usize {
    name.len().min(LENGTHS - 1)
}

/// RFC 6901: an array index has no leading zeros and no sign.
fn array_position(token: &str) -> Option<usize> {
    let canonical = token == "0" || (token.bytes().all(|b| b.is_ascii_digit()) && !token.starts_with('0'));
    canonical.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(texts: &[&str]) -> Vec<Pointer> {
        texts.iter().map(|t| Pointer::parse(t).expect("a pointer")).collect()
    }

    #[test]
    fn pointers_share_their_beginnings_and_find_their_fields() {
        let all = pointers(&["/a/b", "/a/0", "/a", "/c", "/a/b"]);
        let fields = Fields::new(all.iter());
        assert_eq!(fields.len(), 5);
        let a = fields.member(FieldId::ROOT, b"a").expect("/a");
        assert_eq!(fields.id(&all[0]), fields.member(a, b"b"));
        assert_eq!(fields.id(&all[1]), fields.element(a, 0));
        assert_eq!(fields.element(a, 1), None);
        assert_eq!(fields.below(a).map(|below| below.len()), Some(2));
        assert_eq!(fields.below(FieldId::ROOT).map(|below| below.len()), Some(4));
        assert_eq!(fields.member(FieldId::ROOT, b"b"), None);
    }

    #[test]
    fn only_canonical_numbers_are_array_positions() {
        for (token, position) in [("0", Some(0)), ("17", Some(17)), ("01", None), ("-", None), ("", None), ("+1", None)]
        {
            assert_eq!(array_position(token), position, "{token}");
        }
    }
}
