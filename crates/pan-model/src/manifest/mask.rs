//! Reading a document as if some of its values were not there: what is wrong with the rest is seen behind what is wrong with them.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Values to be passed over, by their places among the fields of a mapping or the items of a list.
#[derive(Debug, Default)]
pub(super) struct Mask {
    gone: BTreeSet<usize>,
    within: BTreeMap<usize, Self>,
}

impl Mask {
    pub(super) fn is_empty(&self) -> bool {
        !self.touches(&[])
    }

    /// Passes a value over from now on; `false`: it is already, or there is no such value.
    pub(super) fn add(&mut self, path: &[usize]) -> bool {
        match path {
            [] => false,
            [last] => self.gone.insert(*last),
            [first, rest @ ..] => !self.gone.contains(first) && self.within.entry(*first).or_default().add(rest),
        }
    }

    /// What is passed over within a value; `None`: nothing.
    pub(super) fn within(&self, at: usize) -> Option<&Self> {
        self.within.get(&at)
    }

    /// Whether a value is passed over by itself.
    pub(super) fn has(&self, path: &[usize]) -> bool {
        match path {
            [] => false,
            [last] => self.gone.contains(last),
            [first, rest @ ..] => self.within.get(first).is_some_and(|within| within.has(rest)),
        }
    }

    /// Whether a value, or anything in it, is passed over.
    pub(super) fn touches(&self, path: &[usize]) -> bool {
        match path {
            [] => !self.gone.is_empty() || !self.within.is_empty(),
            [first, rest @ ..] => self.gone.contains(first) || self.within.get(first).is_some_and(|within| within.touches(rest)),
        }
    }

    /// Whether fields or items of the value itself are passed over, so that those after them have other numbers than in the text.
    pub(super) fn renumbers(&self) -> bool {
        !self.gone.is_empty()
    }
}

/// A part of a reader, with what is to be passed over beneath it.
pub(super) struct Masked<'m, T> {
    inner: T,
    mask: &'m Mask,
    /// Fields or items seen so far.
    seen: usize,
}

impl<'m, T> Masked<'m, T> {
    pub(super) const fn new(inner: T, mask: &'m Mask) -> Self {
        Self { inner, mask, seen: 0 }
    }
}

macro_rules! pass {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* Masked::new(visitor, self.mask))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Masked<'_, D> {
    type Error = D::Error;

    pass! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128() deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf() deserialize_option()
        deserialize_unit() deserialize_seq() deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! take {
    ($($method:ident($type:ty))*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Masked<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    take! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128) visit_u8(u8) visit_u16(u16) visit_u32(u32)
        visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64) visit_char(char) visit_str(&str) visit_borrowed_str(&'de str)
        visit_string(String) visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Masked::new(from, self.mask))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Masked::new(from, self.mask))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Masked::new(list, self.mask))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Masked::new(map, self.mask))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, of: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(of)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Masked<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Masked::new(from, self.mask))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Masked<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        while self.mask.gone.contains(&self.seen) {
            if self.inner.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
            self.seen += 1;
        }
        self.seen += 1;
        match self.mask.within(self.seen - 1) {
            Some(mask) => self.inner.next_element_seed(Masked::new(seed, mask)),
            None => self.inner.next_element_seed(seed),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Masked<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while self.mask.gone.contains(&self.seen) {
            if self.inner.next_entry::<IgnoredAny, IgnoredAny>()?.is_none() {
                return Ok(None);
            }
            self.seen += 1;
        }
        self.seen += 1;
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        match self.mask.within(self.seen.saturating_sub(1)) {
            Some(mask) => self.inner.next_value_seed(Masked::new(seed, mask)),
            None => self.inner.next_value_seed(seed),
        }
    }
}
