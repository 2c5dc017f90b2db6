"""What every part of the loop works with: logs, the record and the state, waiting, files that are followed."""
