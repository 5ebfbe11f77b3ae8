//! `${NAME}` in the strings of a configuration takes a value from the environment.

/// Gives the value of a variable, or nothing where it is unset.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Why a string could not be completed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the environment variable {0} is not set")]
    Unset(String),
    #[error("`${{` is not closed by `}}`")]
    Unclosed,
    #[error("{0:?} is no name of an environment variable")]
    Name(String),
}

impl ExpandError {
    /// What would be right.
    pub(super) fn right(&self) -> String {
        match self {
            ExpandError::Unset(name) => format!("set it before the start: export {name}=…"),
            ExpandError::Unclosed | ExpandError::Name(_) => {
                "write ${NAME}, a name of letters, digits and `_`; for the text itself write $${".to_owned()
            }
        }
    }
}

/// The text with each `${NAME}` replaced. `$${` stands for `${` itself; what a variable holds is not looked at again.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ExpandError::Name(name.to_owned()));
        }
        expanded.push_str(before);
        expanded.push_str(&environment(name).ok_or_else(|| ExpandError::Unset(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let environment = |name: &str| (name == "HOME" || name == "_1").then(|| "/home/${HOME}".to_owned());
        for (text, expanded) in [
            ("plain $ {}", Ok("plain $ {}")),
            ("${HOME}/x", Ok("/home/${HOME}/x")),
            ("a${_1}b${HOME}", Ok("a/home/${HOME}b/home/${HOME}")),
            ("$${HOME}", Ok("${HOME}")),
            ("${NOPE}", Err(ExpandError::Unset("NOPE".to_owned()))),
            ("${HOME", Err(ExpandError::Unclosed)),
            ("${}", Err(ExpandError::Name(String::new()))),
            ("${1A}", Err(ExpandError::Name("1A".to_owned()))),
            ("${A-B}", Err(ExpandError::Name("A-B".to_owned()))),
        ] {
            assert_eq!(expand(text, &environment).as_deref(), expanded.as_ref().copied(), "{text}");
        }
    }
}
