//! `Few`, a list that allocates only where it grows past what is usual.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// A list whose first `N` elements lie in place: recording an operation again allocates nothing.
#[derive(Clone, Debug)]
pub(crate) enum Few<T, const N: usize> {
    /// Elements behind the length are copies of the first, and never seen. `None` is empty.
    InPlace(usize, Option<[T; N]>),
    Spilled(Vec<T>),
}

impl<T: Clone, const N: usize> Few<T, N> {
    pub(crate) fn push(&mut self, item: T) {
        match self {
            Self::InPlace(len, items) if *len < N => {
                match items {
                    Some(items) => items[*len] = item,
                    None => *items = Some(std::array::from_fn(|_| item.clone())),
                }
                *len += 1;
            }
            Self::InPlace(..) => {
                let mut items = Vec::with_capacity(2 * N + 1);
                items.extend_from_slice(self);
                items.push(item);
                *self = Self::Spilled(items);
            }
            Self::Spilled(items) => items.push(item),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        match self {
            Self::InPlace(len, Some(items)) => {
                *len = len.checked_sub(1)?;
                Some(items[*len].clone())
            }
            Self::InPlace(_, None) => None,
            Self::Spilled(items) => items.pop(),
        }
    }

    pub(crate) fn extend_from_slice(&mut self, items: &[T]) {
        self.extend(items.iter().cloned());
    }
}

impl<T, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self::InPlace(0, None)
    }
}

impl<T, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::InPlace(len, Some(items)) => &items[..*len],
            Self::InPlace(_, None) => &[],
            Self::Spilled(items) => items,
        }
    }
}

impl<T, const N: usize> DerefMut for Few<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::InPlace(len, Some(items)) => &mut items[..*len],
            Self::InPlace(_, None) => &mut [],
            Self::Spilled(items) => items,
        }
    }
}

impl<T: Clone, const N: usize> Extend<T> for Few<T, N> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T: Clone, const N: usize> FromIterator<T> for Few<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::default();
        few.extend(items);
        few
    }
}

impl<T: Clone, const N: usize, const M: usize> From<[T; M]> for Few<T, N> {
    fn from(items: [T; M]) -> Self {
        items.into_iter().collect()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a Few<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Few<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Few<T, N> {}

impl<T: Hash, const N: usize> Hash for Few<T, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn it_is_the_list_that_was_pushed() {
        for n in 0..9 {
            let few: Few<usize, 4> = (0..n).collect();
            assert_eq!(*few, *(0..n).collect::<Vec<_>>());
            assert_eq!(matches!(few, Few::Spilled(_)), n > 4);
        }
        let mut few = Few::<usize, 2>::from([7]);
        few[0] = 8;
        few.extend_from_slice(&[1, 2]);
        assert_eq!(*few, [8, 1, 2]);
        assert_ne!(few, Few::from([8, 1]));
        assert_eq!(
            [(); 4].map(|()| few.pop()),
            [Some(2), Some(1), Some(8), None]
        );
        few = Few::from([7]);
        assert_eq!([few.pop(), few.pop()], [Some(7), None]);
        few.push(5);
        assert_eq!(*few, [5]);
    }
}
