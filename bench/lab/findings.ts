/** Something a run of the bench has found out about a fault, beside its figures. */
export interface Finding {
  readonly what: string;
  readonly value: string;
  readonly isGood: boolean;
}
