Feature: Several products at once

  Background:
    Given these products
      | name        | status |
      | Copper pot  | active |
      | Enamel mug  | active |
      | Garden hose | active |
    And I have the catalogue open

  Scenario: Set the status of some
    When I select "Copper pot, Garden hose"
    Then everyone can use the page
    When I press "Set status"
    And I choose "Disabled" as "new status"
    Then everyone can use the page
    When I press "Apply"
    Then I am told "2 products have been updated"
    And I see these products
      | name        | status   |
      | Copper pot  | Disabled |
      | Enamel mug  | Active   |
      | Garden hose | Disabled |
    And the catalogue has
      | name        | status   |
      | Copper pot  | disabled |
      | Enamel mug  | active   |
      | Garden hose | disabled |

  Scenario: Delete all of them
    When I press "Select all"
    And I press "Delete selected"
    And I press "Yes"
    Then no product is seen
    When I press "Delete now"
    Then I am told "3 products have been deleted"
    And the catalogue is empty

  Scenario: What could not be done is said, with its reason
    When I select "Copper pot, Enamel mug"
    And a colleague deletes "Enamel mug"
    And I press "Set status"
    And I choose "Inactive" as "new status"
    And I press "Apply"
    Then the summary names "Enamel mug" alone
    And everyone can use the page
    And the catalogue has
      | name        | status   |
      | Copper pot  | inactive |
      | Garden hose | active   |
    When I press "Close summary"
    Then I see "Copper pot, Garden hose"
