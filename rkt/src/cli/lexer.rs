//! Cutting the command line into what clap can parse.
//!
//! clap has no word for "this flag belongs to the image before it", and `--`
//! and `---` mean something else here than to other programs. So the line is
//! cut first, with clap's own description of the flags telling which of them
//! take the next word as their value.
//!
//! ```text
//! IMAGE [flags] [-- ARGS ---] IMAGE …
//! ```

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Usage;

/// Parses `words` as the arguments of `command`.
pub(super) fn parse(command: Command, words: Vec<String>) -> Result<ArgMatches, Usage> {
    let name = command.get_name().to_owned();
    let command = command.mut_args(go_boolean);
    Ok(command.try_get_matches_from(std::iter::once(name).chain(words))?)
}

/// Lets a switch also be written `--switch=true` and `--switch=false`, and be
/// repeated.
fn go_boolean(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let id = arg.get_id().clone();
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_parser(BoolishValueParser::new())
        .overrides_with(id)
}

/// What a word that begins with `-` is to the lexer.
struct Flag<'a> {
    name: &'a str,
    has_value: bool,
}

impl<'a> Flag<'a> {
    /// `None` for a word that is no flag. A lone `-` is not one.
    fn read(word: &'a str) -> Option<Self> {
        let body = word.strip_prefix('-').filter(|body| !body.is_empty())?;
        let (name, has_value) = match body.split_once('=') {
            Some((name, _)) => (name, true),
            None => (body, false),
        };
        Some(Self { name, has_value })
    }

    /// The argument that this flag is in `command`.
    fn find<'c>(&self, command: &'c Command) -> Option<&'c Arg> {
        match self.name.strip_prefix('-') {
            Some(long) => command.get_arguments().find(|arg| {
                arg.get_long() == Some(long)
                    || arg
                        .get_all_aliases()
                        .is_some_and(|aliases| aliases.contains(&long))
            }),
            None => command
                .get_arguments()
                .find(|arg| arg.get_short().is_some_and(|c| self.name == c.to_string())),
        }
    }

    fn is_help(&self) -> bool {
        matches!(self.name, "h" | "-help")
    }

    /// Whether the next word is this flag's value.
    fn wants_next(&self, arg: &Arg) -> bool {
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        takes_value && !self.has_value && !arg.is_require_equals_set()
    }
}

/// Cuts off the flags before the verb.
///
/// # Errors
/// The message for a flag that is unknown or lacks its value.
pub(super) fn leading_flags(
    globals: &Command,
    words: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let mut before = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| Flag::read(word).is_some()) {
        take_flag(globals, None, word, &mut words, &mut before)?;
    }
    Ok((before, words.collect()))
}

/// Moves a flag and, if it takes one, its value to `out`.
fn take_flag(
    first: &Command,
    second: Option<&Command>,
    word: String,
    words: &mut impl Iterator<Item = String>,
    out: &mut Vec<String>,
) -> Result<(), String> {
    let Some(flag) = Flag::read(&word) else {
        return Err(format!("unknown flag: {word}"));
    };
    if !flag.is_help() {
        let arg = flag
            .find(first)
            .or_else(|| second.and_then(|command| flag.find(command)))
            .ok_or_else(|| format!("unknown flag: -{}", flag.name))?;
        if flag.wants_next(arg) {
            // `--flag=value` is the one form that survives a value which
            // begins with a dash.
            let value = words
                .next()
                .ok_or_else(|| format!("flag needs an argument: {word}"))?;
            out.push(format!("{word}={value}"));
            return Ok(());
        }
    }
    out.push(word);
    Ok(())
}

/// An image as it stands on the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AppWords {
    /// The word that names it.
    pub(super) image: String,
    /// The per-app flags after it, values joined by `=`.
    pub(super) flags: Vec<String>,
    /// What stands between `--` and `---`, if there is a `--`.
    pub(super) args: Option<Vec<String>>,
}

/// The line, cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// Flags of the pod, wherever they stood.
    pub(super) pod: Vec<String>,
    /// `--mount` flags before the first image: they are for all apps.
    pub(super) mounts: Vec<String>,
    /// The images in order.
    pub(super) apps: Vec<AppWords>,
}

const PREFIX: &str = "error parsing app image arguments";

/// Cuts a line with images.
///
/// # Errors
/// The message of the first word that is out of place.
pub(super) fn split(
    pod: &Command,
    app: &Command,
    words: Vec<String>,
    app_arguments: bool,
) -> Result<Split, Usage> {
    let mut split = Split::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "" | "---" => {}
            "--" => {
                let wrong = |what: &str| Usage::Message(format!("{PREFIX}: {what}"));
                if !app_arguments {
                    return Err(wrong("app arguments unsupported"));
                }
                let Some(last) = split.apps.last_mut() else {
                    return Err(wrong("an image is required before any app arguments"));
                };
                if last.args.is_some() {
                    return Err(wrong("only one set of app arguments allowed per image"));
                }
                let args = words.by_ref().take_while(|word| word != "---");
                last.args = Some(args.filter(|word| !word.is_empty()).collect());
            }
            _ => {
                let Some(flag) = Flag::read(&word) else {
                    split.apps.push(AppWords {
                        image: word,
                        ..AppWords::default()
                    });
                    continue;
                };
                // A flag of the pod stays one wherever it stands.
                let per_app = flag.find(app).is_some() && flag.find(pod).is_none();
                let out = match split.apps.last_mut() {
                    _ if !per_app => &mut split.pod,
                    Some(last) => &mut last.flags,
                    None if flag.name == "-mount" => &mut split.mounts,
                    None => {
                        let name = flag.name;
                        return Err(Usage::Message(format!("-{name} must follow an image")));
                    }
                };
                take_flag(pod, Some(app), word, &mut words, out).map_err(Usage::Message)?;
            }
        }
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod() -> Command {
        Command::new("run")
            .arg(Arg::new("volume").long("volume").action(ArgAction::Append))
            .arg(Arg::new("debug").long("debug").action(ArgAction::SetTrue))
            .arg(
                Arg::new("net")
                    .long("net")
                    .num_args(0..=1)
                    .require_equals(true),
            )
    }

    fn app() -> Command {
        Command::new("app")
            .arg(Arg::new("name").long("name"))
            .arg(Arg::new("mount").long("mount").action(ArgAction::Append))
            .arg(Arg::new("exec").long("exec"))
    }

    fn cut(line: &[&str]) -> Result<Split, String> {
        let words = line.iter().map(|w| (*w).to_owned()).collect();
        split(&pod(), &app(), words, true).map_err(|e| match e {
            Usage::Message(message) => message,
            Usage::Clap(error) => error.to_string(),
        })
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn flags_go_to_the_image_before_them_and_pod_flags_to_the_pod() {
        let line = [
            "--volume",
            "v,kind=empty",
            "--mount",
            "volume=v,target=/v",
            "a",
            "--name",
            "x",
            "--net=host",
            "--",
            "-l",
            "--",
            "--name",
            "---",
            "---",
            "b",
            "--debug",
            "--exec=/bin/sh",
            "",
        ];
        let split = cut(&line).unwrap();
        assert_eq!(
            split.pod,
            strings(&["--volume=v,kind=empty", "--net=host", "--debug"])
        );
        assert_eq!(split.mounts, strings(&["--mount=volume=v,target=/v"]));
        assert_eq!(split.apps.len(), 2);
        assert_eq!(split.apps[0].image, "a");
        assert_eq!(split.apps[0].flags, strings(&["--name=x"]));
        assert_eq!(split.apps[0].args, Some(strings(&["-l", "--", "--name"])));
        assert_eq!(split.apps[1].flags, strings(&["--exec=/bin/sh"]));
        assert_eq!(split.apps[1].args, None);
    }

    #[test]
    fn a_flag_with_an_optional_value_leaves_the_next_word_alone() {
        let split = cut(&["--net", "image"]).unwrap();
        assert_eq!(split.pod, strings(&["--net"]));
        assert_eq!(split.apps[0].image, "image");
    }

    #[test]
    fn mistakes_have_the_words_of_the_reference() {
        for (line, message) in [
            (
                &["--", "x"][..],
                "error parsing app image arguments: an image is required before any app arguments",
            ),
            (
                &["a", "--", "x", "---", "--", "y"],
                "error parsing app image arguments: only one set of app arguments allowed per image",
            ),
            (&["--name", "x", "a"], "--name must follow an image"),
            (&["a", "--nam", "x"], "unknown flag: --nam"),
            (&["a", "--name"], "flag needs an argument: --name"),
            (&["a", "-x"], "unknown flag: -x"),
        ] {
            assert_eq!(cut(line).unwrap_err(), message, "{line:?}");
        }
        let error = split(&pod(), &app(), strings(&["a", "--"]), false).unwrap_err();
        let Usage::Message(message) = error else {
            panic!()
        };
        assert_eq!(
            message,
            "error parsing app image arguments: app arguments unsupported"
        );
    }

    /// One image with what may follow it, and how it looks on the line.
    fn image() -> impl Strategy<Value = AppWords> {
        let word = "[a-z0-9:/.=-]{0,8}";
        let args = prop::collection::vec(
            word.prop_filter("skipped or ends args", |w| !w.is_empty() && w != "---"),
            0..5,
        );
        (
            "[a-z][a-z0-9/:.]{0,8}",
            prop::collection::vec((prop::sample::select(vec!["name", "exec"]), word), 0..4),
            prop::option::of(args),
        )
            .prop_map(|(image, flags, args)| AppWords {
                image,
                flags: flags
                    .into_iter()
                    .map(|(f, v)| format!("--{f}={v}"))
                    .collect(),
                args,
            })
    }

    proptest! {
        /// Whatever is put on the line comes out of it again, with pod flags
        /// thrown in anywhere outside the arguments, and values joined by `=`
        /// or not.
        #[test]
        fn cutting_undoes_writing(
            apps in prop::collection::vec(image(), 0..4),
            seeds in prop::collection::vec(any::<u8>(), 64),
        ) {
            let mut seeds = seeds.into_iter().cycle();
            let mut coin = || seeds.next().is_some_and(|n| n % 3 == 0);
            let mut line = Vec::new();
            let mut pod_flags = Vec::new();
            for app_words in &apps {
                if coin() {
                    line.extend(strings(&["--volume", "v"]));
                    pod_flags.push("--volume=v".to_owned());
                }
                line.push(app_words.image.clone());
                for flag in &app_words.flags {
                    match flag.split_once('=') {
                        Some((name, value)) if coin() => {
                            line.extend([name.to_owned(), value.to_owned()]);
                        }
                        _ => line.push(flag.clone()),
                    }
                    if coin() {
                        line.push("--debug".to_owned());
                        pod_flags.push("--debug".to_owned());
                    }
                }
                if let Some(args) = &app_words.args {
                    line.push("--".to_owned());
                    line.extend(args.iter().cloned());
                    line.push("---".to_owned());
                }
            }
            let split = split(&pod(), &app(), line, true).unwrap();
            prop_assert_eq!(split.apps, apps);
            prop_assert_eq!(split.pod, pod_flags);
        }

        /// No line makes it panic, and no word is lost or invented.
        #[test]
        fn any_line_is_cut_or_refused(
            line in prop::collection::vec("(--?-?[a-z=]{0,6}|[a-z]{0,4})", 0..12),
        ) {
            let words = line.len();
            if let Ok(split) = split(&pod(), &app(), line, true) {
                let apps: usize = split
                    .apps
                    .iter()
                    .map(|a| 1 + a.flags.len() + a.args.as_ref().map_or(0, Vec::len))
                    .sum();
                prop_assert!(apps + split.pod.len() + split.mounts.len() <= words);
            }
        }
    }
}
