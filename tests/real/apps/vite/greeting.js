export const greeting = 'written first'
