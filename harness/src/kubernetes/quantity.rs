//! Quantities as Kubernetes writes them.

/// The number of a quantity, such as `250m`, `1500` or `2Ki`; none if it is not one. Exponents are read, too: `1e3`.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
pub(crate) fn quantity_value(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    match suffix {
        Some((number, factor)) => Some(number.parse::<f64>().ok()? * factor),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_has_its_factor() {
        for (number, suffix) in (1..).zip(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]) {
            assert_eq!(quantity_value(&format!("3{suffix}")), Some(3.0 * 1024_f64.powi(number)), "{suffix}");
        }
        for (number, suffix) in (-3..).zip(["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]) {
            let [read, wanted] = [format!("1.5{suffix}"), format!("1.5e{}", number * 3)];
            let ratio = quantity_value(&read).unwrap() / wanted.parse::<f64>().unwrap();
            assert!((ratio - 1.0).abs() < 1e-12, "{suffix}: {ratio}");
        }
        assert_eq!(["1e3", "1E3", "-2", "0"].map(quantity_value), [1000.0, 1000.0, -2.0, 0.0].map(Some));
        assert_eq!(["", "Ki", "1 Ki", "1kk", "1K"].map(quantity_value), [None; 5]);
    }
}
