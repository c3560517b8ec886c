//! Mutants: designs that fail. The shipped code has no switch for any of them.

/// Declares the mutants of a model, so that each of them is in `ALL`.
macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// A design.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum Mutant {
            /// The shipped one.
            #[default]
            None,
            $($(#[$doc])* $name,)+
        }

        impl Mutant {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}
pub(crate) use mutants;
