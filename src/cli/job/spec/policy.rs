//! Flags of the rules that a job's data are under.
//!
//! Nothing is assumed: a class or flow that is not said stays unsaid, and the server refuses it.

use jiff::SignedDuration;

use crate::{
    cli::{
        time::{self, duration_to_proto},
        words,
    },
    proto::v1,
};

/// The rules its data are under.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Rules of its data")]
pub(super) struct PolicyArgs {
    /// Class of the most sensitive data.
    #[arg(long, value_name = "CLASS", value_parser = words::data_class())]
    data_class: Option<v1::DataClass>,
    /// How data cross the Chinese border.
    #[arg(long, value_name = "FLOW", value_parser = words::cn_flow())]
    cn_flow: Option<v1::CnFlow>,
    /// Countries of collection, as TH,VN.
    #[arg(long, value_name = "CC", value_delimiter = ',')]
    collected_in: Vec<String>,
    /// People concerned in this year.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    subjects: u64,
    /// Sector the data come from.
    #[arg(long, value_name = "SECTOR", value_parser = words::sector())]
    sector: Option<v1::Sector>,
    /// Basis on which data leave China.
    #[arg(long, value_name = "BASIS", value_parser = words::export_basis())]
    export_basis: Option<v1::ExportBasis>,
    /// Document of that basis, REFERENCE or REFERENCE@UNTIL.
    #[arg(long, value_name = "DOCUMENT", value_parser = words::parse_evidence)]
    export_evidence: Option<v1::Evidence>,
    /// Basis in a country of collection, CC=KIND:REFERENCE@UNTIL; may be repeated.
    #[arg(long = "origin-basis", value_name = "BASIS", value_parser = words::parse_origin_basis)]
    origin_bases: Vec<v1::OriginBasis>,
    /// Countries the results go to, as TH,SG.
    #[arg(long, value_name = "CC", value_delimiter = ',')]
    output_to: Vec<String>,
    /// Only these sites.
    #[arg(long = "allow-site", value_name = "SITE", value_delimiter = ',')]
    allowed_sites: Vec<String>,
    /// Not these sites.
    #[arg(long = "deny-site", value_name = "SITE", value_delimiter = ',')]
    denied_sites: Vec<String>,
    /// Only sites in these countries.
    #[arg(long = "allow-country", value_name = "CC", value_delimiter = ',')]
    allowed_countries: Vec<String>,
    /// No sites in these countries.
    #[arg(long = "deny-country", value_name = "CC", value_delimiter = ',')]
    denied_countries: Vec<String>,
    /// What a site must offer; may be repeated.
    #[arg(long, value_name = "TRAIT", value_delimiter = ',')]
    require: Vec<Requirement>,
    /// Only through this gateway.
    #[arg(long = "require-gateway", value_name = "GATEWAY")]
    gateway: Option<String>,
    /// How long results stay at the site after the end.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    retention: Option<SignedDuration>,
}

/// What a job can require of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Requirement {
    /// Only pools that domestic data never share.
    NoDomesticMix,
    /// Only offshore enclaves.
    OffshoreEnclave,
    /// Only over a leased line.
    LeasedLine,
    /// Only pools that encrypt memory in use.
    EncryptedInUse,
}

impl PolicyArgs {
    /// The policy that the flags spell.
    pub(super) fn build(self) -> v1::DataPolicy {
        let require = |requirement| self.require.contains(&requirement);
        v1::DataPolicy {
            data_class: self.data_class.unwrap_or_default().into(),
            subject_count: self.subjects,
            sector: self.sector.unwrap_or_default().into(),
            cn_flow: self.cn_flow.unwrap_or_default().into(),
            export_basis: self.export_basis.unwrap_or_default().into(),
            require_no_domestic_mix: require(Requirement::NoDomesticMix),
            require_offshore_enclave: require(Requirement::OffshoreEnclave),
            require_leased_line: require(Requirement::LeasedLine),
            require_encrypted_in_use: require(Requirement::EncryptedInUse),
            collected_in: self.collected_in,
            export_evidence: self.export_evidence,
            origin_bases: self.origin_bases,
            output_to: self.output_to,
            allowed_sites: self.allowed_sites,
            denied_sites: self.denied_sites,
            allowed_countries: self.allowed_countries,
            denied_countries: self.denied_countries,
            require_gateway_id: self.gateway.unwrap_or_default(),
            retention: self.retention.map(duration_to_proto),
        }
    }
}
