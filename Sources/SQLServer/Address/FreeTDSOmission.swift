import Tidemark

/// A protection or an identity that a connection string may ask for, and FreeTDS would leave out without a word.
///
/// FreeTDS passes over every keyword it does not know. 1.3.17 knows those of `ODBC_PARAM_LIST` in its `odbc.h`, of which
/// only `Encryption` protects a connection. From 1.5 on it knows `Encrypt`, `HostNameInCertificate` and
/// `ServerCertificate` too, but a connection string does not tell which FreeTDS will read it.
///
/// What the keywords ask of Microsoft's driver: https://learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute
struct FreeTDSOmission {
    /// The keyword, and others that mean the same.
    let keywords: [String]
    /// Values that ask for nothing, in lower case.
    let harmless: Set<String>
    let wayOut: String

    /// Refuses a connection string for FreeTDS that asks for one of these.
    ///
    /// - Throws: `DSNError` with the way out.
    static func refuse(in string: ODBCString) throws(DSNError) {
        for pair in string.pairs {
            guard let omission = all.first(where: { $0.isAsked(by: pair) }) else { continue }
            throw DSNError(
                """
                has \(omission.keywords[0]), which FreeTDS would leave out without a word; \(omission.wayOut), or install \
                Microsoft's ODBC Driver 18 and write Driver={ODBC Driver 18 for SQL Server}
                """)
        }
    }

    private func isAsked(by pair: ODBCString.Pair) -> Bool {
        let keyword = Self.letters(pair.keyword)
        return keywords.contains { Self.letters($0) == keyword }
            && !harmless.contains(pair.value.lowercased().filter { !$0.isWhitespace })
    }

    /// A keyword without what people part its words with; a blank before the `=` is a part of it for FreeTDS.
    private static func letters(_ keyword: String) -> String { keyword.lowercased().filter(\.isLetter) }

    private static let no: Set<String> = ["", "no", "false", "0", "off"]
    private static let address = "write sqlserver://user:password@host?database=name, which checks the certificate"
    private static let login = "leave it out and log in with UID and PWD"

    static let all = [
        FreeTDSOmission(
            keywords: ["Encrypt"], harmless: no.union(["optional"]),
            wayOut: "\(address), or Encryption=require, which encrypts but takes any certificate"),
        FreeTDSOmission(keywords: ["TrustServerCertificate"], harmless: ["", "yes", "true", "1"], wayOut: address),
        FreeTDSOmission(
            keywords: ["ServerCertificate"], harmless: [""], wayOut: "\(address), with serverCertificate=PATH"),
        FreeTDSOmission(
            keywords: ["HostNameInCertificate"], harmless: [""],
            wayOut: "\(address), with the host's name as the certificate has it"),
        FreeTDSOmission(
            keywords: ["MultiSubnetFailover"], harmless: no, wayOut: "leave it out and name one of the replicas"),
        FreeTDSOmission(keywords: ["Authentication"], harmless: ["", "sqlpassword"], wayOut: login),
        FreeTDSOmission(keywords: ["ClientCertificate", "ClientKey"], harmless: [""], wayOut: login),
        FreeTDSOmission(
            keywords: ["ColumnEncryption"], harmless: no.union(["disabled"]),
            wayOut: "leave it out, and the encrypted columns with CDC_EXCLUDE_COLUMNS"),
        FreeTDSOmission(keywords: ["User", "User ID", "User Name"], harmless: [""], wayOut: "write UID"),
        FreeTDSOmission(keywords: ["Password"], harmless: [""], wayOut: "write PWD"),
    ]
}
