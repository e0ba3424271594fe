/**
 * What a key may do, least first; each role may do all that the ones before it may: viewers read, editors deploy and
 * run, admins manage credentials and keys, owners make other owners.
 */
export const ROLES = ['viewer', 'editor', 'admin', 'owner'] as const;
export type Role = (typeof ROLES)[number];

export const isAtLeast = (role: Role, least: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(least);
