//! The values of an operation's options, taken out of text.

use super::{OptionInfo, OptionKind};
use crate::chain::parse::Argument;
use crate::error::{Error, shown};
use crate::loss::Reduction;
use crate::names::spelled;
use crate::operation::Operation;
use crate::random::Random;
use crate::range::Range;
use std::cell::RefCell;
use std::fmt;

/// What is wrong with options.
pub(crate) enum Wrong {
    /// A text, at some place.
    At(usize, String),
    /// A name that the operation has no option of, at some place.
    Unknown(usize, Error),
    /// Values, which are no text's.
    Value(Error),
}

impl Wrong {
    /// The error where options are a text, of which bytes have these columns.
    pub(crate) fn in_text(self, column: impl Fn(usize) -> usize) -> Error {
        let (at, problem) = match self {
            Self::At(at, problem) => (at, problem),
            Self::Unknown(at, error) => (at, error.to_string()),
            Self::Value(error) => return error,
        };
        Error::OperationSyntax {
            column: column(at),
            problem,
        }
    }

    /// The error where options are names with values.
    pub(crate) fn of(self, function: &'static str) -> Error {
        match self {
            Self::At(_, problem) => Error::Options { function, problem },
            Self::Unknown(_, error) | Self::Value(error) => error,
        }
    }
}

pub(crate) type Asked<T> = std::result::Result<T, Wrong>;

/// An operation, with its options set.
pub(crate) type Made = Asked<Box<dyn Operation>>;

/// Values of options, as text has them.
pub(crate) trait OfText: Sized {
    const KIND: OptionKind;

    /// The value; else what it must be.
    fn of_text(text: &str) -> std::result::Result<Self, &'static str>;
}

macro_rules! of_text {
    ($($type:ty => $kind:ident, $what:literal;)*) => {$(
        impl OfText for $type {
            const KIND: OptionKind = OptionKind::$kind;

            fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
                text.parse().map_err(|_| $what)
            }
        }
    )*};
}
of_text! {
isize => Integer, "a whole number";
i64 => Integer, "a whole number";
usize => Count, "a whole number, 0 or more";
u64 => Count, "a whole number from 0 to 2^64 - 1";
}

impl OfText for bool {
    const KIND: OptionKind = OptionKind::Flag;

    fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
        spelled(text).parse().map_err(|_| "true or false")
    }
}

impl OfText for f32 {
    const KIND: OptionKind = OptionKind::Number;

    fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
        let number: f32 = text.parse().map_err(|_| "a number")?;
        // Infinities are welcome by name only.
        if number.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
            return Err("a number that an f32 holds");
        }
        Ok(number)
    }
}

/// The options of a text: those that are asked for are taken out, and each question says what it is
/// about, so that what an entry asks for is what it has.
pub(crate) struct Options<'a, 'b> {
    /// The name that the operation is called by.
    pub called: &'a str,
    left: RefCell<Vec<&'b Argument<'a>>>,
    /// What was asked for.
    pub known: RefCell<Vec<OptionInfo>>,
    /// The shapes of the arrays, where they are known.
    pub shapes: &'b [&'b [usize]],
}

impl<'a, 'b> Options<'a, 'b> {
    pub(crate) fn new(
        called: &'a str,
        arguments: &'b [Argument<'a>],
        shapes: &'b [&'b [usize]],
    ) -> Self {
        Self {
            called,
            left: RefCell::new(arguments.iter().collect()),
            known: RefCell::default(),
            shapes,
        }
    }

    /// The value of an option as text, where it is given.
    fn take(&self, option: OptionInfo) -> Asked<Option<&'b Argument<'a>>> {
        let name = option.name;
        self.known.borrow_mut().push(option);
        let mut left = self.left.borrow_mut();
        let is_it = |argument: &&Argument<'_>| argument.name == Some(name);
        let found = left.iter().position(is_it).map(|i| left.remove(i));
        match left.iter().find(|argument| is_it(argument)) {
            Some(again) => Err(Wrong::At(again.at, format!("{name} is given twice"))),
            None => Ok(found),
        }
    }

    pub(crate) fn parsed<T: OfText>(
        &self,
        name: &'static str,
        default: Option<String>,
        meaning: &str,
    ) -> Asked<Option<T>> {
        let option = OptionInfo {
            name,
            kind: T::KIND,
            default,
            meaning: meaning.to_owned(),
        };
        let Some(argument) = self.take(option)? else {
            return Ok(None);
        };
        let wrong = |expected| Self::wrong(name, argument, expected);
        T::of_text(argument.value).map(Some).map_err(wrong)
    }

    fn wrong(name: &str, argument: &Argument<'_>, expected: impl fmt::Display) -> Wrong {
        let value = shown(argument.value);
        Wrong::At(argument.at, format!("{name} = {value} must be {expected}"))
    }

    /// The value of an option that has no default, where it is given.
    pub(crate) fn get<T: OfText>(&self, name: &'static str, meaning: &str) -> Asked<Option<T>> {
        self.parsed(name, None, meaning)
    }

    /// The value of an option, or its default.
    pub(crate) fn or<T: OfText + ToString>(
        &self,
        name: &'static str,
        default: T,
        meaning: &str,
    ) -> Asked<T> {
        let given = self.parsed(name, Some(default.to_string()), meaning)?;
        Ok(given.unwrap_or(default))
    }

    /// One of some words; case and `-` for `_` do not matter.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &'static str,
        default: Option<&str>,
        words: &[(&'static str, T)],
        meaning: &str,
    ) -> Asked<Option<T>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let option = OptionInfo {
            name,
            kind: OptionKind::Choice(known.clone()),
            default: default.map(str::to_owned),
            meaning: meaning.to_owned(),
        };
        let Some(argument) = self.take(option)? else {
            return Ok(None);
        };
        let wanted = spelled(argument.value);
        let found = words.iter().find(|(word, _)| *word == wanted);
        found
            .map(|&(_, value)| Some(value))
            .ok_or_else(|| Self::wrong(name, argument, known.join(" or ")))
    }

    pub(crate) fn axis(&self) -> Asked<isize> {
        self.or("axis", -1, "negative from the end")
    }

    pub(crate) fn reduction(&self) -> Asked<Reduction> {
        let words: [_; Reduction::ALL.len()] = std::array::from_fn(|i| {
            let reduction = Reduction::ALL[i];
            (reduction.name(), reduction)
        });
        let standard = Reduction::default();
        let meaning = "what is made of the losses of rows or elements";
        let given = self.choice("reduction", Some(standard.name()), &words, meaning)?;
        Ok(given.unwrap_or(standard))
    }

    /// A seed, and the number of the first element's random number.
    pub(crate) fn random(&self, seed: Option<u64>) -> Asked<Option<Random>> {
        let meaning = match seed {
            Some(_) => "of the random numbers",
            None => "of the random numbers; with one, training",
        };
        let seed = match seed {
            Some(seed) => Some(self.or("seed", seed, meaning)?),
            None => self.get("seed", meaning)?,
        };
        let meaning = "the place of the first element in the whole that the array is a part of";
        let first = self.or("offset", 0, meaning)?;
        Ok(seed.map(|seed| Random::new(seed).starting_at(first)))
    }

    /// The parameters that are given, of these names, defaults and ranges.
    pub(crate) fn parameters(
        &self,
        names: impl IntoIterator<Item = (&'static str, String, Range)>,
    ) -> Asked<Vec<(&'static str, f32)>> {
        let mut given = Vec::new();
        for (name, default, range) in names {
            let value = self.parsed(name, Some(default), &range.to_string())?;
            given.extend(value.map(|value| (name, value)));
        }
        Ok(given)
    }

    /// An error where something is left that nobody asked for.
    pub(crate) fn finish(&self, function: &'static str) -> Asked<()> {
        let left = self.left.borrow();
        let Some(argument) = left.first() else {
            return Ok(());
        };
        let known = self.known.borrow();
        let names: Vec<&'static str> = known.iter().map(|option| option.name).collect();
        Err(match argument.name {
            Some(name) => {
                let unknown = Error::UnknownParameter {
                    function,
                    name: name.to_owned(),
                    known: names,
                };
                Wrong::Unknown(argument.at, unknown)
            }
            None if names.is_empty() => Wrong::At(argument.at, "it has no options".to_owned()),
            None => {
                let names = names.join(", ");
                let problem = format!("options have names, as in axis=-1; there is {names}");
                Wrong::At(argument.at, problem)
            }
        })
    }
}
