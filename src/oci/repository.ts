/** A repository at an origin: `namespace` is the origin's host name (`docker.io`, `myreg:5000`), `name` the path below it. */
export interface Repository {
  readonly namespace: string;
  readonly name: string;
}
