/// How a projection's table differs from what its query gives, or a source table from what is staged of it.
public struct ProjectionDifference: Sendable, Equatable {
    /// Rows the query gives.
    public var expectedRows: Int
    /// Rows the table holds.
    public var actualRows: Int
    /// Rows the query gives and the table does not hold, or not like that.
    public var missingRows: Int
    /// Rows the table holds and the query does not give, or not like that.
    public var unexpectedRows: Int
    /// Some of them, one line each: `missing: …` or `unexpected: …`, column by column.
    public var sample: [String]

    public init(expectedRows: Int, actualRows: Int, missingRows: Int, unexpectedRows: Int, sample: [String] = []) {
        self.expectedRows = expectedRows
        self.actualRows = actualRows
        self.missingRows = missingRows
        self.unexpectedRows = unexpectedRows
        self.sample = sample
    }

    public var isEmpty: Bool { missingRows == 0 && unexpectedRows == 0 }
}
