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
    members: Vec<Member>,
    /// The lengths of their names, one bit each.
    lengths: u64,
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
        self.fields.push(Field { members: Vec::new(), lengths: 0, indexed: false, end: 0 });
        let members: Vec<Member> = tree
            .0
            .iter()
            .map(|(token, below)| Member {
                token: token.as_bytes().into(),
                position: array_position(token),
                field: self.add(below),
            })
            .collect();
        let end = self.next_id();
        if let Some(field) = self.fields.get_mut(id.index()) {
            let lengths = members.iter().fold(0, |lengths, m| lengths | length_bit(&m.token));
            let indexed = members.iter().any(|m| m.position.is_some());
            *field = Field { members, lengths, indexed, end };
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
        // Most names are ruled out by their length.
        if field.lengths & length_bit(name) == 0 {
            return None;
        }
        let first = name.first();
        field.members.iter().find(|m| m.token.first() == first && *m.token == *name).map(|m| m.field)
    }

    /// The field that is the element at `position` of an array at `of`.
    pub(super) fn element(&self, of: FieldId, position: usize) -> Option<FieldId> {
        let field = self.fields.get(of.index()).filter(|f| f.indexed)?;
        field.members.iter().find(|m| m.position == Some(position)).map(|m| m.field)
    }

    /// The fields below one, as indexes.
    pub(super) fn below(&self, id: FieldId) -> std::ops::Range<usize> {
        let end = self.fields.get(id.index()).map_or(0, |f| f.end as usize);
        id.index() + 1..end
    }
}

/// One bit for the length of a name; the longest share one.
#[inline]
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
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
        assert_eq!(fields.below(a).len(), 2);
        assert_eq!(fields.below(FieldId::ROOT).len(), 4);
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
