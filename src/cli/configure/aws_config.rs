//! `~/.aws/config` as the AWS CLI reads it, and the part of it that is ours: the lines between two marks. Everything else is
//! the person's, and stays as it is to the letter.

use std::collections::BTreeMap;

/// A section, with its keys; nested ones as `outer.inner`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// As between the brackets, quotes taken away: `profile dev`.
    pub(crate) name: String,
    /// Number of its line, from 1.
    pub(crate) line: usize,
    pub(crate) values: BTreeMap<String, String>,
}

impl Section {
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

/// The sections of a file.
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut outer = String::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let words: Vec<&str> = name.split_whitespace().collect();
            let name = words.join(" ").replace(['"', '\''], "");
            sections.push(Section { name, line: number + 1, values: BTreeMap::new() });
            outer.clear();
            continue;
        }
        let (Some(section), Some((key, value))) = (sections.last_mut(), bare.split_once('=')) else { continue };
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        // An indented key belongs to the one above it that has no value of its own.
        if line.starts_with([' ', '\t']) && !outer.is_empty() {
            section.values.insert(format!("{outer}.{key}"), value.to_owned());
        } else {
            outer = if value.is_empty() { key.clone() } else { String::new() };
            section.values.insert(key, value.to_owned());
        }
    }
    sections
}

fn marks(session: &str) -> (String, String) {
    (
        format!(
            "# >>> daypass, session {session}: written by `daypass configure`, which writes over what is between these two lines"
        ),
        format!("# <<< daypass, session {session}"),
    )
}

/// The file in three parts: before ours, ours without its marks, and after.
fn split<'t>(text: &'t str, session: &str) -> Result<(&'t str, Option<&'t str>, &'t str), String> {
    let (begin, end) = marks(session);
    let at = |mark: &str| {
        let mut found = text.match_indices(mark).filter(|(at, _)| {
            let line = text.get(*at..).and_then(|rest| rest.lines().next());
            line == Some(mark) && (*at == 0 || text.get(..*at).is_some_and(|before| before.ends_with('\n')))
        });
        (found.next().map(|(at, _)| at), found.next().is_some())
    };
    match (at(&begin), at(&end)) {
        ((None, _), (None, _)) => Ok((text, None, "")),
        ((Some(first), false), (Some(last), false)) if first < last => {
            let inside = text.get(first + begin.len()..last).unwrap_or_default();
            let inside = inside.strip_prefix('\r').unwrap_or(inside);
            let after = text.get(last + end.len()..).unwrap_or_default();
            let inside = inside.strip_prefix('\n').unwrap_or(inside);
            Ok((text.get(..first).unwrap_or_default(), Some(inside), after.strip_prefix('\n').unwrap_or(after)))
        }
        _ => Err(format!("the marks of the session {session} are not one pair; remove the part between them by hand")),
    }
}

/// The lines of ours, without their marks.
pub(super) fn inside<'t>(text: &'t str, session: &str) -> Result<Option<&'t str>, String> {
    split(text, session).map(|(_, inside, _)| inside)
}

/// The lines outside of ours.
pub(super) fn others(text: &str, session: &str) -> Result<String, String> {
    split(text, session).map(|(before, _, after)| format!("{before}{after}"))
}

/// The file with ours in it: in its old place, or at the end. An empty part takes the marks away with it.
pub(super) fn with_part(text: &str, session: &str, part: &str) -> Result<String, String> {
    let (before, old, after) = split(text, session)?;
    if part.is_empty() {
        return Ok(match old {
            None => text.to_owned(),
            // The empty line that came with the first mark.
            Some(_) => format!("{}{after}", before.strip_suffix("\n\n").map_or(before.to_owned(), |rest| format!("{rest}\n"))),
        });
    }
    let gap = match (old, before) {
        (Some(_), _) | (None, "") => "",
        (None, before) if before.ends_with('\n') => "\n",
        (None, _) => "\n\n",
    };
    let (begin, end) = marks(session);
    Ok(format!("{before}{gap}{begin}\n{part}{end}\n{after}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_are_read_as_the_aws_cli_reads_them() {
        let text = "[default]\nregion = eu-west-1\n# [profile no]\n[profile \"a b\"]\nservices=x\n[services x]\nsts =\n  endpoint_url = http://a\nsso =\n\tendpoint_url=http://b # c\nlast = 1\n";
        let read = sections(text);
        assert_eq!(
            read.iter().map(|section| section.name.as_str()).collect::<Vec<_>>(),
            ["default", "profile a b", "services x"]
        );
        assert_eq!(read[2].value("sts.endpoint_url"), Some("http://a"));
        assert_eq!(read[2].value("sso.endpoint_url"), Some("http://b # c"));
        assert_eq!(read[2].value("last"), Some("1"));
        assert_eq!((read[1].line, read[1].value("services")), (4, Some("x")));
    }

    #[test]
    fn ours_is_replaced_in_its_place_and_taken_away_without_a_trace() {
        for own in ["", "[default]\nregion = x\n", "[default]\nregion = x", "\n\n# only a comment\n"] {
            let first = with_part(own, "corp", "[a]\n").unwrap();
            let second = with_part(&first, "corp", "[b]\n").unwrap();
            assert_eq!(second, first.replace("[a]", "[b]"));
            assert_eq!(with_part(&second, "corp", "").unwrap().trim_end(), own.trim_end(), "{own:?}");
            let after = format!("{first}[profile mine]\n");
            assert_eq!(with_part(&after, "corp", "[b]\n").unwrap(), format!("{second}[profile mine]\n"));
            let two = with_part(&first, "other", "[c]\n").unwrap();
            assert!(two.starts_with(&first) && two.contains("[c]"));
        }
        let (begin, end) = marks("corp");
        for broken in [format!("{begin}\n"), format!("{end}\n{begin}\n"), format!("{begin}\n{begin}\n{end}\n")] {
            assert!(with_part(&broken, "corp", "x\n").is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_people_wrote_stays(before in "([a-z=\\[\\] \\t#]{0,12}\n){0,6}", after in "([a-z=\\[\\] \\t#]{0,12}\n){0,6}", part in "([a-z=]{1,12}\n){1,4}") {
            let text = with_part(&before, "corp", "[old]\n").unwrap() + &after;
            let new = with_part(&text, "corp", &part).unwrap();
            prop_assert_eq!(others(&new, "corp").unwrap(), others(&text, "corp").unwrap());
            prop_assert!(new.contains(&part) && new.ends_with(&after));
            let _ = sections(&new);
        }
    }
}
