//! What a key is, and the macro by which the table of keys becomes types.
//!
//! [`super::table`] holds the rows. How a kind of value is read and printed is [`super::forms`]'s
//! concern.

use super::forms::Described;

/// One key.
#[derive(Clone, Copy)]
pub struct Key {
    /// `section.name`; in a table of an array, such as `[[counter]]`, the name alone.
    pub name: &'static str,
    /// The key that names a file which holds the value instead, for secrets.
    pub file: Option<&'static Key>,
    /// The default as it would be typed in a flag; `None` when there is none or the machine decides.
    pub default: Option<&'static str>,
    /// The flag of its own on the command line, besides `--set`.
    pub flag: Option<&'static str>,
    pub(super) form: &'static (dyn Described + Sync),
}

impl Key {
    /// Returns the environment variable that sets this key: `COUNTERD_SECTION__NAME`.
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// Returns the part before the dot.
    pub fn section(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// Returns the key, and after it the key of its file if it has one.
    pub(super) fn with_file(&'static self) -> impl Iterator<Item = &'static Key> {
        std::iter::once(self).chain(self.file)
    }
}

/// Returns the environment variable for a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("COUNTERD_{}", key.replace('.', "__").to_ascii_uppercase())
}

/// `Some` of what is given, or `None` of nothing.
macro_rules! optional {
    () => {
        None
    };
    ($given:expr) => {
        Some($given)
    };
}

/// The word of a key: its name, unless that cannot be a name in Rust.
macro_rules! key_word {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $word:literal) => {
        $word
    };
}

/// Makes a struct of a table's rows, and with it its keys, its reading and its printing:
///
/// ```text
/// /// What it means.
/// name [as "word"] [or name_file]: Type = Form [, "default"] [, else unwritten] [, flag "--flag"];
/// ```
///
/// `unwritten` is a function such as [`super::reader::cores`]: what holds when nothing is written and there is no
/// default.
///
/// A type that the form cannot read does not compile.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $Section:ident, $prefix:expr, {
            $(
                $(#[$doc:meta])*
                $name:ident $(as $word:literal)? $(or $file:ident)? : $type:ty = $form:expr
                $(, $default:literal)? $(, else $unwritten:expr)? $(, flag $flag:literal)? ;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $Section {
            $( $(#[$doc])* pub $name: $type, )+
        }

        impl $Section {
            pub(super) const KEYS: &'static [Key] = &[$(
                Key {
                    name: concat!($prefix, key_word!($name $($word)?)),
                    file: optional!($(
                        &Key {
                            name: concat!($prefix, stringify!($file)),
                            file: None,
                            default: None,
                            flag: None,
                            form: &FILE_PATH,
                        }
                    )?),
                    default: optional!($($default)?),
                    flag: optional!($($flag)?),
                    form: &$form,
                },
            )+];

            /// Reads every key, so that all mistakes are told. Returns `None` after a mistake for
            /// which no default stands in.
            pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
                let mut keys = Self::KEYS.iter();
                $(
                    let $name =
                        reader.read::<$type>(&$form, optional!($($unwritten)?), keys.next()?);
                )+
                Some(Self { $( $name: $name?, )+ })
            }

            /// Returns every key with its value as it would be written in the file.
            pub(super) fn show(&self) -> Vec<(&'static Key, String)> {
                let values = [$( Form::<$type>::show(&$form, &self.$name), )+];
                Self::KEYS.iter().zip(values).collect()
            }
        }
    };
}

/// Makes [`super::Config`] of its sections, each with the rows of a [`section!`].
macro_rules! configuration {
    ($(
        $(#[$meta:meta])*
        $section:ident : $Section:ident { $($rows:tt)* }
    )+) => {
        $(
            section! {
                $(#[$meta])*
                $Section, concat!(stringify!($section), "."), { $($rows)* }
            }
        )+

        /// The whole configuration, checked.
        #[derive(Debug, Clone)]
        pub struct Config {
            $( $(#[$meta])* pub $section: $Section, )+
            /// The counters that the configuration defines: the built-in ones, unless defined anew,
            /// then `[[counter]]` in the order of the file. No name twice.
            pub defined_counters: Vec<CounterEntry>,
            /// The rules of `[[alert]]`, in the order of the file.
            pub alert_rules: Vec<RuleEntry>,
            /// The configuration file, if one was read.
            pub file: Option<PathBuf>,
            /// The files that secrets were read from, each with its key.
            pub secret_files: Vec<(&'static str, PathBuf)>,
            pub(super) sources: BTreeMap<&'static str, SettingSource>,
        }

        /// The keys of each section, in the order in which they are printed.
        const SECTIONS: &[&[Key]] = &[$( $Section::KEYS ),+];

        impl Config {
            /// Reads every section; `None` as in those.
            pub(super) fn read(
                reader: &mut Reader<'_>,
                defined_counters: Vec<CounterEntry>,
            ) -> Option<Self> {
                $( let $section = $Section::read(reader); )+
                let sources = std::mem::take(&mut reader.sources);
                let secret_files = std::mem::take(&mut reader.secret_files);
                Some(Self { $( $section: $section?, )+ defined_counters, alert_rules: Vec::new(), file: None, secret_files, sources })
            }

            /// Returns every key with its value as it would be written in the file, in the order of the table;
            /// of a secret only whether it is set.
            pub(crate) fn entries(&self) -> Vec<(&'static Key, String)> {
                [$( self.$section.show() ),+].concat()
            }
        }
    };
}

pub(super) use {configuration, key_word, optional, section};
