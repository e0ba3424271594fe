/** SQLSTATE codes that we react to (PostgreSQL manual, appendix A). */
export const SQLSTATE = {
  uniqueViolation: '23505',
  serializationFailure: '40001',
  statementCompletionUnknown: '40003',
  deadlockDetected: '40P01',
  undefinedTable: '42P01',
  undefinedObject: '42704',
  invalidParameterValue: '22023',
  insufficientPrivilege: '42501',
  invalidCatalogName: '3D000',
  invalidPassword: '28P01',
  adminShutdown: '57P01',
  crashShutdown: '57P02',
  cannotConnectNow: '57P03',
  diskFull: '53100',
  tooManyConnections: '53300',
  lockNotAvailable: '55P03',
} as const;
