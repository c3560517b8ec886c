//! resourceVersions: only their order matters.

/// A value that contains resourceVersions.
pub trait Versioned {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8));
}

impl<T: Versioned> Versioned for Option<T> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        if let Some(inner) = self {
            inner.each_version(visit);
        }
    }
}

impl<T: Versioned> Versioned for Vec<T> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        for inner in self {
            inner.each_version(visit);
        }
    }
}

/// Gives each version its rank among all.
pub fn renumber(all: &mut impl Versioned) {
    let mut used = Vec::with_capacity(8);
    all.each_version(&mut |version| used.push(*version));
    used.sort_unstable();
    used.dedup();
    all.each_version(&mut |version| {
        let rank = used.partition_point(|known| known < version);
        *version = u8::try_from(rank + 1).unwrap();
    });
}

/// A version above every other.
pub fn next(all: &mut impl Versioned) -> u8 {
    let mut highest = 0;
    all.each_version(&mut |version| highest = highest.max(*version));
    highest + 1
}
