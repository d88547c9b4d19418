//! Keys that the whole world has, and seeds that were never drawn by chance.

/// Public keys of the test vectors of RFC 8032, sections 7.1 to 7.3: their seeds are printed there.
const PUBLISHED: [&str; 7] = [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292",
    "0f1d1274943b91415889152e893d80e93275a1fc0b65fd71b4b0dda10ad7d772",
];

/// Longest pattern whose repetition is told from chance.
const PERIOD_MAX: usize = 16;

/// Whether a public key is one whose private half stands in RFC 8032.
#[must_use]
pub fn is_published_key(key: &[u8; 32]) -> bool {
    PUBLISHED.contains(&hex::encode(key).as_str())
}

/// Why a seed cannot have been drawn by chance; `None` if nothing speaks against it. A seed that was drawn passes but with a probability
/// below 2⁻⁴⁵.
///
/// That takes time that depends on the seed, which nobody can watch: it is one machine's one look.
pub(super) fn pattern(seed: &[u8; 32]) -> Option<&'static str> {
    if seed.iter().all(|byte| Some(byte) == seed.first()) {
        return Some("all its bytes are equal");
    }
    if (2..=PERIOD_MAX).any(|period| seed.iter().zip(seed.iter().skip(period)).all(|(one, next)| one == next)) {
        return Some("it repeats itself");
    }
    let steps = || seed.iter().zip(seed.iter().skip(1)).map(|(one, next)| next.wrapping_sub(*one));
    if steps().all(|step| Some(step) == steps().next()) {
        return Some("it counts");
    }
    if seed.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Some("it is text: a passphrase is no seed, and a seed in hexadecimal has 64 digits");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_keys_are_those_of_the_published_seeds() {
        let seeds = [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
            "ab9c2853ce297ddab85c993b3ae14bcad39b2c682beabc27d6d4eb20711d6560",
        ];
        let keys = seeds.map(|seed| {
            let seed = hex::decode(seed).expect("hexadecimal").try_into().expect("32 bytes");
            hex::encode(ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes())
        });
        assert_eq!(keys, PUBLISHED);
    }
}
