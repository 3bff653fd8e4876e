/// The version of the control tables (`ctl_schema`), and whether they can be worked with.
///
/// A store has one migration for each version. `bootstrap` applies those that are missing, in order, each in one
/// transaction. Tables made before versions were noted get all of them: the migrations of that time leave alone what is
/// there already.
public enum ControlSchema {
    /// What this code works with. Raise it with each migration, in every store.
    ///
    /// 1: watermarks, checkpoints and metadata. 2: `complete_from_lsn`. 3: `ctl_sources` and `resync_requested`.
    /// 4: `staging_token`.
    public static let version = 4

    /// The versions that tables of version `found` lack, oldest first.
    ///
    /// - Throws: `TidemarkError.unavailable` when the tables are of a newer version: this code does not know what to keep.
    public static func missing(found: Int?) throws -> Range<Int> {
        let found = found ?? 0
        guard found <= version else {
            throw TidemarkError.unavailable(
                """
                the control tables of the serving database are of version \(found), and this tidemark works with version \
                \(version): use the release of tidemark that made them, or a later one
                """)
        }
        return found + 1..<version + 1
    }

    /// - Throws: `TidemarkError.unavailable` unless the tables are of this code's version.
    public static func requireCurrent(_ found: Int?) throws {
        guard try !missing(found: found).isEmpty else { return }
        throw TidemarkError.unavailable(
            """
            the control tables of the serving database are of \(found.map { "version \($0)" } ?? "an earlier version"), and \
            this tidemark works with version \(version): run tidemark bootstrap, which migrates them and keeps what they hold
            """)
    }
}
