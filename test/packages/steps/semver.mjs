import semver from 'semver';
export default () => semver.satisfies('1.4.2', '^1.2');
