/** How long a condition may take to come true on a machine that is busy with other things; a healthy one needs milliseconds. */
export const patience = { timeout: 15_000, interval: 20 } as const;
