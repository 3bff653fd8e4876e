import ODBC
import Tidemark

extension SQLServerServing {
    /// Gives the new table the indexes and permissions of one it will take the place of. Not in the transaction that
    /// swaps them: a statement that fails there would fail the build.
    func carryOver(to sql: ProjectionTableSQL, _ connection: Connection) throws {
        let name = sql.table.name
        guard let shape = try ServingTableShape.read(name, connection), !sql.fits(shape) else { return }
        let additions: TableAdditions
        do {
            additions = try TableAdditions(of: name, connection)
        } catch let error as ODBCError where error.errorClass != .transient {
            return warn(
                """
                indexes and permissions on \(name) go with the table, whose columns change, as they cannot be read: \
                \(SQLServerFailure.readable(error, in: database.label))
                """)
        }
        for trigger in additions.triggers {
            warn("trigger \(trigger) on \(name) goes with the table, whose columns change; make it anew")
        }
        if !additions.showsPermissions {
            warn(
                """
                permissions on \(name) itself go with the table, whose columns change: the login may not see them. Give them \
                again, or on the schema
                """)
        }
        for addition in additions.statements(on: sql) {
            guard let statement = addition.sql else {
                warn("\(addition.what) on \(name) cannot be kept: a column of it is gone")
                continue
            }
            do {
                try connection.execute(statement)
            } catch let error as ODBCError where error.errorClass != .transient {
                warn(
                    """
                    \(addition.what) on \(name) could not be kept when the table was built anew: \
                    \(SQLServerFailure.readable(error, in: database.label))
                    """)
            }
        }
    }
}
